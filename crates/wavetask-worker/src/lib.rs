//! Leases tasks, runs each in a solver child process and hands the result to the server.
