"""PostgreSQL: the server, the tables of a source's schema, and what is written to them."""
