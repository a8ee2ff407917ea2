"""Dashboards on the marts, as data, and the files by which a BI tool takes them in."""
