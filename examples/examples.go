// Package examples holds the estates and replays that haechi carries with it.
package examples

import "embed"

// Files are the replays, each in a folder of its name.
//
//go:embed kakao-2022 daejeon-2025
var Files embed.FS
