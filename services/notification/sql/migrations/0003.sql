GRANT SELECT, INSERT ON audit_log TO payflow_notification;
