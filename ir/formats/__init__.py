"""Layouts of foreign files: in `ir/`, the one folder that both the frontends and the backends may import."""
