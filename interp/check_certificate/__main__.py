"""The command: python -m interp.check_certificate."""

from interp.check_certificate.command import main

if __name__ == "__main__":
    raise SystemExit(main())
