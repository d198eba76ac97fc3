"""The notification service: notifications, live events and e-mails; database `notification`."""
