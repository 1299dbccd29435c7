"""Plugins for cloakbench."""
