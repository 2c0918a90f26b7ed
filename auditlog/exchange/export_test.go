package exchange

// RealMaxBody is how many bytes of a body are read, and MaxBody how many the
// tests read: under the race detector, 64 MiB take up to 7 seconds each time.
var RealMaxBody = maxBody

const MaxBody = 8 << 20

func init() { maxBody = MaxBody }
