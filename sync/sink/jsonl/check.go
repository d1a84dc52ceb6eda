package jsonl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Check finds out whether a sink could write to the path. It changes nothing, and
// leaves the lock alone: a service may be writing.
func Check(path string) error {
	if path == "-" {
		return nil
	}
	for _, name := range []string{path, path + ".lock"} {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err == nil {
			info, err := f.Stat()
			f.Close()
			if err == nil && !info.Mode().IsRegular() {
				return fmt.Errorf("jsonl: %s is no file: name another", name)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("jsonl: %w", err)
		}
	}
	// Files are set aside in the directory too.
	f, err := os.CreateTemp(filepath.Dir(path), ".oktasync-check-*")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("jsonl: the directory of %s does not exist: make it, or name another file", path)
	}
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
