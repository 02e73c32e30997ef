"""The method as plain loops, straight from its definitions: slow; to read, to test against, to measure against."""
