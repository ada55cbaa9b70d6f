"""`python -m ioc` is `ioc`."""

from ioc.cli import main

main()
