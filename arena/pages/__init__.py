"""Pages for people: competitions, boards, and where their own submissions stand. Rendered here; no build step."""
