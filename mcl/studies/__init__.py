"""Many runs: what is planned, what came out, what can be concluded."""
