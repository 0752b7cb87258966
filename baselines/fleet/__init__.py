"""Agents for the fleet, and how its episodes are summarised, drawn and told."""
