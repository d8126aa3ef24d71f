"""What `pytest --model` is made of: the session's hooks, its items, their results, and what fails which of them."""
