package engine

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// spread tells which of the replicas is to work for each instance. It is the same
// wherever it is worked out, leaves none with more than its part, rounded up, and
// differs little when a replica comes or goes: each instance goes to the one that
// it ranks highest (rendezvous hashing) of those that have room.
func spread(instances, replicas []string) map[string]string {
	if len(replicas) == 0 {
		return nil
	}
	most := (len(instances) + len(replicas) - 1) / len(replicas)
	instances = slices.Clone(instances)
	slices.SortFunc(instances, func(a, b string) int { // whoever comes late finds less room: let that be no matter of names
		if x, y := rank(a, ""), rank(b, ""); x != y {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
	room := map[string]int{}
	for _, r := range replicas {
		room[r] = most
	}
	of := make(map[string]string, len(instances))
	for _, id := range instances {
		best, highest := "", uint64(0)
		for _, r := range replicas {
			if n := rank(id, r); room[r] > 0 && (best == "" || n > highest || n == highest && r < best) {
				best, highest = r, n
			}
		}
		of[id] = best
		room[best]--
	}
	return of
}

// rank is how much an instance prefers a replica.
func rank(instance, replica string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(instance + "\x00" + replica)) // never fails
	n := h.Sum64()
	// FNV leaves the last bytes in the low bits: mix, as splitmix64 does.
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
