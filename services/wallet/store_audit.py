"""The statement by which the audit log is read; `services.chassis.audit` runs it. Acts are written by the store."""

from __future__ import annotations

from pathlib import Path

from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_audit.sql")

LIST = statements.list_audit
