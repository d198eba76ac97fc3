"""Private engines: PostgreSQL, RabbitMQ and Redis, each below one folder of its own."""

from __future__ import annotations

from deploy.local.engines.engine import Engine
from deploy.local.engines.postgres import Postgres
from deploy.local.engines.postgres_cluster import PostgresCluster
from deploy.local.engines.rabbitmq import RabbitMQ
from deploy.local.engines.rabbitmq_cluster import RabbitMQCluster
from deploy.local.engines.redis import Redis

__all__ = ["Engine", "Postgres", "PostgresCluster", "RabbitMQ", "RabbitMQCluster", "Redis"]
