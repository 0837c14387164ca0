"""What tests share, and what their configs name by dotted path: `support.models.Nested`."""
