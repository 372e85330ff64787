"""The command line, the installation on one machine, and the processes that it keeps alive."""
