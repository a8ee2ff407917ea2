"""Tables and views that are made of the events, for people and their tools."""
