"""Many runs read, compared and counted together."""
