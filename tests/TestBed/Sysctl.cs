using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>A number below /proc/sys, until it is disposed of: then it is what it was.</summary>
internal sealed class Sysctl : IAsyncDisposable
{
    private readonly string _path;
    private readonly string _before;

    private Sysctl(string path, string before)
    {
        _path = path;
        _before = before;
    }

    public static async Task<IAsyncDisposable> SetAsync(string path, int value)
    {
        Skip.IfNot(File.Exists(path), $"this kernel has no {path}");
        Sysctl sysctl = new(path, await File.ReadAllTextAsync(path));
        await File.WriteAllTextAsync(path, value.ToString(CultureInfo.InvariantCulture));
        return sysctl;
    }

    public async ValueTask DisposeAsync() => await File.WriteAllTextAsync(_path, _before);
}
