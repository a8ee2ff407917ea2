"""A page for people who look at e-mail campaigns: the numbers first, then charts and HTML."""
