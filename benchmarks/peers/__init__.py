"""What the monitor is measured beside, each as a process of its own."""
