"""Process setup: command line, launch, interrupts, device."""
