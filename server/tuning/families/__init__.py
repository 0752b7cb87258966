"""Families of tuning tasks: tasks that are drawn. `tuning/<split>/<index>` names each one for ever."""
