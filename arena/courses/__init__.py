"""Courses: teachers make them, students join them by a link."""
