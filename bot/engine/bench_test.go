package engine

import (
	"fmt"
	"io"
	"runtime"
	"testing"
)

// BenchmarkFile is one durable publish after another, as the receive loop does.
func BenchmarkFile(b *testing.B) {
	for _, role := range []string{"owner", "client"} {
		b.Run(role, func(b *testing.B) {
			dir := b.TempDir()
			e := openTest(b, dir)
			if role == "client" {
				e = openTest(b, dir)
			}
			data := make([]byte, 1000)
			i := 0
			for b.Loop() {
				i++
				if _, err := e.File(b.Context(), fmt.Sprint(i), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFile64AtOnce(b *testing.B) {
	e := openTest(b, b.TempDir())
	data := make([]byte, 1000)
	b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
	ids := make(chan int)
	go func() {
		for i := 0; ; i++ {
			select {
			case ids <- i:
			case <-b.Context().Done():
				return
			}
		}
	}()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := e.File(b.Context(), fmt.Sprint(<-ids), data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

const benchSize = 64 << 20

func BenchmarkEvidenceWrite(b *testing.B) {
	e := openTest(b, b.TempDir())
	data := noise(1, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		writeEvidence(b, e, "evidence", data)
	}
}

func BenchmarkEvidenceRead(b *testing.B) {
	e := openTest(b, b.TempDir())
	writeEvidence(b, e, "evidence", noise(1, benchSize))
	b.SetBytes(benchSize)
	for b.Loop() {
		r, err := e.OpenEvidence(b.Context(), "evidence")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart opens and closes a folder that is in use.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	e := openTest(b, dir)
	fill(b, e)
	shut(b, e)
	for b.Loop() {
		e, err := Open(b.Context(), Config{Dir: dir, Key: testKey})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		shut(b, e)
		b.StartTimer()
	}
}
