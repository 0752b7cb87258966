"""What runs inside the sandbox, beside a submission: it sees this folder and nothing of ours above it."""
