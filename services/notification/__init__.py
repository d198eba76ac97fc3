"""The notification service: who was told what about which transfer; database `notification`."""
