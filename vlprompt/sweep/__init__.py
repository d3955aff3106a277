"""Many runs at once: experiments as files, cut into single runs, done in order or by many processes."""
