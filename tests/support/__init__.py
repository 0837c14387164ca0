"""The shared helpers of tests, and the objects that test configs name by dotted path, such as `support.models.Nested`."""
