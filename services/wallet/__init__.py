"""The wallet service: accounts, entries and outcomes; the only writer of balances; database `wallet`."""
