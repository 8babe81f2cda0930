"""What people expect of a chat page, point by point: each test is named after its point."""
