"""Less work for the same result, in any family."""
