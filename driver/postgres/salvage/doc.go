// Package salvage is what was read of a member that went another way than its store's primary: the
// file that it is kept in, the text that PostgreSQL's test_decoding writes and that most of it comes
// from, and what becomes of a row when it is written back. It is pure: servers, hosts and disks are
// the business of package postgres.
//
// # The file
//
// JSON, a line each: a [Header], the [Row]s in the order of their commits, numbered from 1, and a
// [Footer] that says how many there are and what all the lines before it sum up to. A file that was
// cut off, or that somebody edited, shows it. Values are text as the server writes them (ISO dates,
// UTC, bytea in hex), so that the server reads back what it wrote.
package salvage
