"""What `ioc demo` runs beside the monitor so that nothing need be installed."""
