"""The whole system on one machine without containers: private engines and the process stack."""
