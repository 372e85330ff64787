"""Ways to reach people: each takes one message and says what is known of its fate."""
