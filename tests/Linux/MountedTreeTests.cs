using PostCopy.Linux;

namespace PostCopy.Tests.Linux;

/// <summary>What is mounted below a directory is found by whatever name the directory is called.</summary>
public sealed class MountedTreeTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-mounts-").FullName;

    public void Dispose()
    {
        MountedTree.Unmount(_directory);
        Directory.Delete(_directory, recursive: true);
    }

    [SkippableTheory]
    [InlineData("container")]
    [InlineData("with a blank")]
    public async Task A_mount_is_found_through_a_symbolic_link_and_nothing_is_removed_through_it(string name)
    {
        Skip.IfNot(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "root only");
        string bundle = Directory.CreateDirectory(Path.Combine(_directory, "bundle")).FullName;
        await File.WriteAllTextAsync(Path.Combine(bundle, "precious"), "");
        string mounted = Directory.CreateDirectory(Path.Combine(_directory, "run", name, "root")).FullName;
        CapturedChild mount = await CapturedChild.RunAsync(ChildPath.Find("mount")!, ["--bind", bundle, mounted], null, null, CancellationToken.None);
        Skip.IfNot(mount.Status.IsSuccess, $"nothing can be mounted here: {mount.Error}");
        string link = Path.Combine(_directory, "var");
        File.CreateSymbolicLink(link, "run");

        MountedTree.Delete(Path.Combine(link, name));
        Assert.DoesNotContain(MountEntry.All(), entry => entry.Point == mounted);
        Assert.False(Directory.Exists(Path.Combine(_directory, "run", name)));
        Assert.True(File.Exists(Path.Combine(bundle, "precious")));
    }

    [Fact]
    public void A_line_of_the_kernels_is_read_field_by_field()
    {
        MountEntry entry = MountEntry.Parse(@"36 35 98:0 /a\134b /mnt/with\040blank rw,noatime master:1 shared:7 - cgroup a\040source rw,cpu,freezer");
        Assert.Equal((@"/a\b", "/mnt/with blank", "cgroup"), (entry.Root, entry.Point, entry.Type));
        Assert.Contains("freezer", entry.Options);
    }
}
