"""The statement that reads the audit log; `services.chassis.audit` runs it. The store writes the log."""

from __future__ import annotations

from pathlib import Path

from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_audit.sql")

LIST = statements.list_audit
