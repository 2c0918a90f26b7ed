//go:build !race

package commands

// slower is how much longer everything takes under the race detector.
const slower = 1
