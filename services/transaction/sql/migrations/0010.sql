-- The autoscaler counts transfers by status, and can read nothing else.
GRANT SELECT (status) ON transfers TO payflow_scaler;
