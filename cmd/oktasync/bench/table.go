package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// machine tells in a few lines where and with what a benchmark ran.
func machine(ctx context.Context, r *redisServer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine: %s, %d cores, %s/%s\n", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	version, err := r.infoText(ctx, "redis_version")
	if err != nil {
		version = "unknown"
	}
	fmt.Fprintf(&b, "with: %s, Redis %s, oktasync %s\n", runtime.Version(), version, commit())
	return b.String()
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // elsewhere than on Linux it is not told
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// commit names the revision this program was built of.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of an unknown revision"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	if revision == "" {
		return "of an unknown revision"
	}
	return revision + modified
}

// table prints rows under a header, in aligned columns.
type table struct {
	out    io.Writer
	header []string
	rows   [][]string
}

func newTable(out io.Writer, header ...string) *table { return &table{out: out, header: header} }

// add adds a row; print shows the table as it is then.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) print() error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{t.header}, t.rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t")+"\t")
	}
	return w.Flush()
}

// mb is a number of bytes in MB, of a million bytes.
func mb(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e6) }

// percentile returns what of a hundred durations so many do not exceed; 0 of none.
func percentile(all []time.Duration, of float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(float64(len(all))*of/100), len(all)-1)]
}
