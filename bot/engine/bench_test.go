package engine

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
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

// journalSize is what a million records of 1.3 KB take. Run alone, with
// -benchtime 1x, for the memory to be right.
const journalSize = 1300 << 20

// BenchmarkJournalWrite writes as a search does: record by record, with a
// checkpoint 400 times. Server and client are in this process.
func BenchmarkJournalWrite(b *testing.B) {
	e := openTest(b, b.TempDir())
	b.SetBytes(journalSize)
	before := resident(b, "VmRSS")
	for b.Loop() {
		writeJournal(b, e, journalSize)
	}
	b.ReportMetric(before, "MiB-before")
	b.ReportMetric(resident(b, "VmHWM"), "MiB-peak")
}

func BenchmarkJournalRead(b *testing.B) {
	e := openTest(b, b.TempDir())
	j := writeJournal(b, e, journalSize)
	b.SetBytes(journalSize)
	for b.Loop() {
		r, err := j.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); n != journalSize || err != nil {
			b.Fatal(n, err)
		}
		r.Close()
	}
	b.ReportMetric(resident(b, "VmHWM"), "MiB-peak")
}

func BenchmarkJournalDelete(b *testing.B) {
	e := openTest(b, b.TempDir())
	for b.Loop() {
		b.StopTimer()
		writeJournal(b, e, journalSize)
		b.StartTimer()
		if err := e.DeleteJournal(b.Context(), "journal"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(resident(b, "VmHWM"), "MiB-peak")
}

func writeJournal(b *testing.B, e *Engine, size int) *Journal {
	j, err := e.OpenJournal(b.Context(), "journal")
	if err != nil {
		b.Fatal(err)
	}
	record, each := noise(1, 1300), size/400
	for written := 0; written < size; {
		n := min(len(record), size-written)
		if _, err := j.Write(record[:n]); err != nil {
			b.Fatal(err)
		}
		if before := written / each; (written+n)/each > before || written+n == size {
			if err := j.Checkpoint(b.Context(), record); err != nil {
				b.Fatal(err)
			}
		}
		written += n
	}
	return j
}

// resident is what the system says of our memory, in MiB: VmRSS is now, VmHWM
// the most so far. It is 0 where there is no /proc.
// https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
func resident(b *testing.B, what string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(status), what+":")
	fields := strings.Fields(line)
	if len(fields) == 0 {
		b.Fatalf("no %s in %s", what, status)
	}
	kb, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
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
