.PHONY: demo lint test bench bench-certificates bench-changes help

help: ## Shows what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: ## Builds everything and runs a control plane, an edge and two backends on this machine
	@scripts/packages cmake gcc g++ curl
	cargo build --locked --bins
	@target/debug/switchyard demo

lint: ## Checks formatting, lints, layers, .proto files and licences
	scripts/lint

test: ## Runs all tests; with real databases and real clients
	scripts/test

bench: ## Puts the edge beside other proxies; writes bench/RESULTS.md
	scripts/bench proxies

bench-certificates: ## Measures how long it takes to have a certificate from a CA; writes bench/RESULTS.md
	scripts/bench certificates

bench-changes: ## Measures how long a change takes, with many domains and many edges; writes bench/RESULTS.md
	scripts/bench changes
