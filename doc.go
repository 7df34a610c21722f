// Package haechi is the root of the module; it holds only the house tests,
// which keep the diagram in ARCHITECTURE.md true.
package haechi
