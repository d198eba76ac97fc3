"""Checks of a deployment, before and after it.

A module that is named after what it checks is pure: its functions take what was recorded (JSON, metrics) and return findings. The
modules in `targets` record it.
"""
