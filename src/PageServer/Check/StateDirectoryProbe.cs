namespace PostCopy.Check;

/// <summary>The directory for state and images: writable, and in memory, since images are written while the container stands still.</summary>
internal sealed class StateDirectoryProbe : HostProbe
{
    public override string Id => "state-directory";

    public override string Tried => "made and removed a directory where state and images go";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string wanted = Path.GetFullPath(host.StateDirectory);
        string existing = wanted;
        while (!Directory.Exists(existing))
        {
            existing = Path.GetDirectoryName(existing)!;
        }

        string trial = Path.Combine(existing, $".postcopy-check-{Environment.ProcessId}-{Guid.NewGuid():N}");
        try
        {
            Directory.CreateDirectory(trial);
            Directory.Delete(trial);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return Task.FromResult(Missing(
                exception.Message,
                $"Sessions cannot be recorded below {wanted}, so none can be started.",
                $"Make {existing} writable for this user, or choose another state directory."));
        }

        DriveInfo drive = new(existing);
        string found = $"{wanted}: {drive.DriveFormat}, {drive.AvailableFreeSpace >> 20} MiB free";
        return Task.FromResult(drive.DriveFormat is "tmpfs" or "ramfs"
            ? Ok(found)
            : Degraded(
                found,
                "Images are written to a disk while the container stands still, which lengthens its downtime.",
                $"Mount a tmpfs there: mount -t tmpfs -o mode=0700 tmpfs {wanted}"));
    }
}
