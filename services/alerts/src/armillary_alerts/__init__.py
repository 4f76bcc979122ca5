"""Alerts of sky surveys: received, annotated, filtered, archived, and each accounted for."""
