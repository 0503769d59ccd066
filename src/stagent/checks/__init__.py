"""What `stagent check` runs: engine-run commands that find, run and judge a project's own tests and declarations."""
