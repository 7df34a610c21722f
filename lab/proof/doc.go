// Package proof holds haechi to its promises: each row of the table of faults in
// docs/guarantees.md is a test here, on real servers, with clients outside that
// judge. It holds no code of its own.
package proof
