package clustertest

import "syscall"

// Windows cannot stop a process: signalling these fails.
const (
	stopSignal     = syscall.Signal(-1)
	continueSignal = syscall.Signal(-1)
)
